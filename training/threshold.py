"""Above which probability a payment is flagged: by an alert budget, or by what a missed fraud costs. Pure."""

from dataclasses import dataclass

from stream.encode import rounded
from training.metrics import ALERT_BUDGET, Labels, Probabilities, threshold_by_cost, threshold_for


@dataclass(frozen=True)
class ThresholdRule:
    """How a threshold is chosen on the validation days."""

    alert_budget: float = ALERT_BUDGET  # share of the payments, between 0 and 1
    cost_of_missed: float | None = None  # in reviews of an alert; if given, it decides, and the budget is only measured

    def __post_init__(self) -> None:
        if not 0 < self.alert_budget < 1:
            raise ValueError(f"an alert budget of {self.alert_budget:g}: give a share of the payments, such as 0.01")
        if self.cost_of_missed is not None and not self.cost_of_missed > 0:
            raise ValueError(f"a missed fraud that costs {self.cost_of_missed:g} reviews: give more than 0")

    def choose(self, is_fraud: Labels, probabilities: Probabilities) -> float:
        """Return the threshold, between 0 and 1, both columns being those of the validation days.

        It is of probabilities as they are published, since serving makes its verdicts from these.
        """
        probabilities = rounded(probabilities)
        if self.cost_of_missed is None:
            return threshold_for(probabilities, self.alert_budget)
        return threshold_by_cost(is_fraud, probabilities, self.cost_of_missed)

    def __str__(self) -> str:
        if self.cost_of_missed is None:
            return f"the probability above which {self.alert_budget:.3g} of the validation days' payments lie"
        return (
            "the probability at which alerts and missed frauds of the validation days cost least, "
            f"a missed fraud as much as {self.cost_of_missed:g} reviews of an alert"
        )


#: The threshold flags the share :data:`~training.metrics.ALERT_BUDGET` of the payments.
BY_BUDGET = ThresholdRule()
