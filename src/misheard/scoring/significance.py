"""Is the difference between two models more than chance? Which test is for what.

Each lives in a module of its own and is named here, so that the rest need not know which.

- `permutation_test`: the blocked test, exact. A gate rests on it.
- `paired_bootstrap`: intervals, blocked by group; also for "not worse than a margin".
- `mapsswe`: NIST's test over texts, for comparison with published figures.
- `matched_pairs`: its formula, over segments that are independent of each other.
- `power`, `words_needed`: how much speech a test needs.

Tests that may be made after each transcript are not here: `sequential` of a share, `risk_ratio` of
two versions on live traffic.

docs/significance.md has the reasons, and what simulation says of each.
"""

from misheard.scoring.bootstrap import BootstrapIntervals, Interval, paired_bootstrap
from misheard.scoring.mapsswe import mapsswe, segment_errors
from misheard.scoring.matched_pairs import MatchedPairs, matched_pairs
from misheard.scoring.permutation import PermutationTest, permutation_test
from misheard.scoring.power import power, words_needed

__all__ = [
    "BootstrapIntervals",
    "Interval",
    "MatchedPairs",
    "PermutationTest",
    "mapsswe",
    "matched_pairs",
    "paired_bootstrap",
    "permutation_test",
    "power",
    "segment_errors",
    "words_needed",
]
