"""What an upstream last said of its models and prices."""

from sqlalchemy import BigInteger, Text
from sqlmodel import Field, SQLModel


class UpstreamList(SQLModel, table=True):
    """The list last heard from one upstream, for a process that starts while it is down. Proxy."""

    __tablename__ = "upstream_list"

    upstream_digest: str = Field(primary_key=True)
    """A hash of the upstream's URL, which may hold a secret."""
    models: str = Field(sa_type=Text)
    """JSON of the entries, as far as they are used."""
    prices: str = Field(sa_type=Text)
    heard_at_s: int = Field(sa_type=BigInteger)
