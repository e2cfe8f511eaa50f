"""The deployment as answers state it."""

from pydantic import BaseModel, Field


class ContractsView(BaseModel):
    """Where the contracts are."""

    position: str
    adapter: str
    payouts: str
    usdc: str
    multicall3: str


class DeploymentView(BaseModel):
    """What a wallet or a program must know before it calls the contracts."""

    chain_id: int
    contracts: ContractsView
    vault_address: str = Field(description="the vault that the operator has reviewed")
    block_number: int = Field(description="no event of the contracts is older than this block")


class SharePriceView(BaseModel):
    """What a share of a vault was worth in one block."""

    block_number: int
    at_s: int
    price: str = Field(description="1e-12 USDC a share, as digits")


class VaultView(BaseModel):
    """The vault that the operator has reviewed, as the chain shows it."""

    address: str
    name: str
    symbol: str
    decimals: int = Field(description="of the shares")
    total_assets_usdc: int = Field(description="everything that the vault manages")
    liquid_usdc: int = Field(
        description="USDC in the vault itself; it may reach more elsewhere: `maxWithdraw` tells"
    )
    lost_assets_usdc: int | None = Field(
        description="losses that it has not made good; null: the vault does not say"
    )
    fee_ppm: int | None = Field(description="its fee on yield, 1e-6; null: it does not say")
    year_yield_ppm: int | None = Field(
        description="simple yield in 365 days, 1e-6, by the share prices; null: unknown"
    )
    measured_over_s: int | None
    history: list[SharePriceView] = Field(description="oldest first")


class BooksView(BaseModel):
    """Our books beside the chain, at one block."""

    agrees: bool
    block_number: int
    block_hash: str
    compared_at_s: int
    positions: int = Field(description="how many positions our books have")
    positions_on_chain: int = Field(description="how many the position contract has")
    unspent_usdc: int = Field(description="credit that is neither spent nor taken out: our books")
    unspent_on_chain_usdc: int = Field(description="the same by the position contract")
    contract_balance_usdc: int = Field(description="the USDC that the position contract has")


class OverviewView(BaseModel):
    """What a page or a wallet must know before it begins."""

    chain_id: int
    contracts: ContractsView
    vault_address: str
    vault: VaultView | None = Field(description="null: the chain does not answer")
    books: BooksView | None = Field(description="null: they were not compared yet")
    domain: str = Field(description="what sign-in messages are bound to")
    now_s: int
