"""The Grafana dashboard of a deployment. Only what its own metrics say."""

import json
from typing import Any, Final

PANELS: Final[tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...]] = (
    (
        "Alarms of the keeper that stand",
        "short",
        (("current_keeper_alarm == 1", "{{alarm}}"),),
    ),
    (
        "Requests a second, by outcome",
        "reqps",
        (("sum by (code) (rate(current_proxy_requests_total[5m]))", "{{code}}"),),
    ),
    (
        "How long requests take",
        "s",
        tuple(
            (
                f"histogram_quantile({share}, sum by (le)"
                " (rate(current_proxy_request_seconds_bucket[5m])))",
                name,
            )
            for share, name in ((0.5, "half"), (0.95, "95 %"), (0.99, "99 %"))
        ),
    ),
    (
        "Open requests",
        "short",
        (
            ("sum(current_proxy_requests_in_flight)", "proxy"),
            ("sum(current_market_requests_in_flight)", "market"),
        ),
    ),
    (
        "Charged, USDC a second",
        "short",
        (("sum(rate(current_proxy_charged_micro_usdc_total[5m])) / 1e6", "USDC"),),
    ),
    (
        "Usage that waits for a settlement, and what no credit pays, USDC",
        "short",
        (
            ("current_keeper_posted_usdc / 1e6", "waits"),
            ("current_keeper_bad_debt_usdc / 1e6", "no credit pays"),
            ("current_keeper_payments_usdc / 1e6", "payments that wait"),
        ),
    ),
    (
        "Age of the mirror and lag in blocks",
        "short",
        (
            ("min(current_indexer_age_seconds)", "age, s"),
            ("max(current_indexer_lag_blocks)", "lag, blocks"),
        ),
    ),
    (
        "What nodes do wrong, an hour",
        "short",
        (
            (
                "sum by (endpoint, failure) (increase(current_indexer_node_failures_total[1h]))",
                "{{endpoint}} {{failure}}",
            ),
        ),
    ),
    (
        "The keeper's ether",
        "short",
        (("current_keeper_balance_wei / 1e18", "ether"),),
    ),
    (
        "Gas today by kind, USDC",
        "short",
        (("current_keeper_gas_day_usdc / 1e6", "{{kind}}"),),
    ),
    (
        "Rounds of the keeper, a minute",
        "short",
        (("60 * sum by (outcome) (rate(current_keeper_rounds_total[5m]))", "{{outcome}}"),),
    ),
    (
        "Calls of sellers by what became of them, a second",
        "reqps",
        (("sum by (cause) (rate(current_market_attempts_total[5m]))", "{{cause}}"),),
    ),
    ("Offers by health", "short", (("current_market_offers", "{{health}}"),)),
    (
        "Suppliers' payouts under way",
        "short",
        (("current_market_supplier_payouts", "{{status}}"),),
    ),
)
_WIDTH: Final = 12
_HEIGHT: Final = 8


def build_dashboard() -> str:
    """Return the dashboard as the JSON that Grafana imports."""
    panels = [
        {
            "id": place + 1,
            "type": "timeseries",
            "title": title,
            "datasource": {"type": "prometheus", "uid": "${source}"},
            "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
            "gridPos": {
                "h": _HEIGHT,
                "w": _WIDTH,
                "x": place % 2 * _WIDTH,
                "y": place // 2 * _HEIGHT,
            },
            "targets": [
                {"refId": chr(ord("A") + number), "expr": expression, "legendFormat": legend}
                for number, (expression, legend) in enumerate(queries)
            ],
        }
        for place, (title, unit, queries) in enumerate(PANELS)
    ]
    dashboard: dict[str, Any] = {
        "title": "Current",
        "uid": "current",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "type": "datasource", "query": "prometheus"}],
        },
        "panels": panels,
    }
    return json.dumps(dashboard, indent=2) + "\n"
