"""Search every denoiser for pairs that contradict its certificate, and write the worst constants onto its card.

    python scripts/audit_denoisers.py [--names euler dncnn] [--rounds 12] [--seed 0]

The search is that of ``pnpkit audit``. Writes docs/results/audits.{json,md} and the cards.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from results import RESULTS, today, write_results

from pnpkit import registry
from pnpkit.laws import denoisers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="*", default=list(registry.denoisers()))
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    command = f"python scripts/audit_denoisers.py --rounds {args.rounds} --seed {args.seed}"
    store = RESULTS / "audits.json"
    results: dict[str, Any] = json.loads(store.read_text())["results"] if store.exists() else {}
    for name in args.names:
        found = {}
        for level, outcome in denoisers.audit_denoiser(name, rounds=args.rounds, seed=args.seed):
            alpha = round(outcome.averagedness, 5) if outcome.averagedness <= 1 else "not averaged"
            found[f"{255 * level:.0f}"] = {
                "lipschitz": round(outcome.lipschitz, 6),
                "averagedness": alpha,
                "falsified": outcome.falsified,
            }
        print(name, found, flush=True)
        results[name] = found
        how = {"command": f"{command} --names {name}", "date": today(), "sha256": registry.card_of(name).sha256}
        registry.set_audit(name, {**found, **how})
    record = {"results": results, "command": command, "seed": args.seed, "date": today()}
    levels = list(next(iter(results.values())))
    lines = [
        "The largest ratio ||Dx - Dy|| / ||x - y|| that the search found, and the least averagedness that it allows.",
        "",
        "| denoiser | " + " | ".join(f"sigma {level}" for level in levels) + " | claim falsified |",
        "| --- |" + " --- |" * (len(levels) + 1),
    ]
    for name, found in sorted(results.items()):
        cells = [f"{found[level]['lipschitz']:.4f}, {found[level]['averagedness']}" for level in levels]
        lines.append(
            f"| {name} | {' | '.join(cells)} | {'YES' if any(f['falsified'] for f in found.values()) else 'no'} |"
        )
    write_results("audits", record, lines)


if __name__ == "__main__":
    main()
