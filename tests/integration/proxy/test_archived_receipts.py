"""Receipts of archived requests over HTTP: as before, to whom they were given before."""

from pathlib import Path

from sqlalchemy import update

from contracts.blocks import BlockRef
from contracts.units import SECONDS_PER_DAY
from ledger.chain.mirror import save_blocks
from ledger.database.engine import write
from ledger.spending.archive_files import ArchiveFolder
from ledger.spending.archiving import archive_usage
from ledger.spending.batches import close_batch, plan_batch
from ledger.tables import Usage, table_of
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger, make_state, put_cursor, put_positions
from tests.support.proxy import RunningProxy, make_key, now_s, run_proxy, settings_for

DAY, USAGE = SECONDS_PER_DAY, table_of(Usage)


async def ask(proxy: RunningProxy, path: str, token_id: int = 0) -> tuple[int, object]:
    headers = {"authorization": f"Bearer {make_key(token_id)}"}
    answer = await proxy.client.get(f"/api/current{path}", headers=headers)
    return answer.status_code, answer.json()


async def test_receipt__archived__is_as_it_was_and_for_its_owner_alone(
    provider: FakeEndpoint, tmp_path: Path
) -> None:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    with write(engine) as connection:
        put_positions(connection, make_state(now_s=now_s()), make_state(1, now_s=now_s()))
        put_cursor(connection, number=100, now_s=now_s())
        save_blocks(connection, [BlockRef(50, "0x" + "50" * 32, "0x" + "49" * 32, 1)], keep=60)
    settings = settings_for(provider, tmp_path, archive_folder=tmp_path / "archive")
    async with run_proxy(settings, engine) as proxy:
        request_id = [await proxy.chat() for _ in range(3)][1].headers["x-request-id"]
        with write(engine) as connection:
            aged = {name: USAGE.c[name] - 40 * DAY for name in ("reserved_at_s", "resolved_at_s")}
            connection.execute(update(USAGE).values(aged))
            long_ago_s = now_s() - 40 * DAY
            batch = plan_batch(connection, limits_usdc={0: 500_000}, now_s=long_ago_s)
            assert batch is not None
            close_batch(connection, batch.batch_id, block_number=9, tx_hash="0x" + "cd" * 32)
        paths = [f"/receipts/{request_id}", f"/v1/generation?id={request_id}", "/v1/key"]
        paths.append("/usage?group_by=model")
        before = [await ask(proxy, path) for path in paths]

        folder = ArchiveFolder(tmp_path / "archive")
        archive_usage(engine, folder, before_s=now_s() - 35 * DAY, now_s=now_s())

        assert proxy.usage() == []
        assert [status for status, _ in before] == [200] * 4
        assert [await ask(proxy, path) for path in paths] == before
        assert (await ask(proxy, paths[0], token_id=1))[0] == 404
        assert (await ask(proxy, "/receipts/unknown"))[0] == 404
    engine.dispose()
