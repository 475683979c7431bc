"""M4's weights: how often to take the samples of each pattern of attributes and labels, so that attributes
are as frequent as wished and go with no label, and the weights are as equal as that allows.

    weights(shares, moments(attributes, labels, targets), bounds, rate, most)     -> (p,) weights
    largest_rate(shares, moments(attributes, labels, targets), bounds, most)      -> 0.6

The weights q minimise E[(q - rate)^2] / 2 over all samples, with 0 <= q <= most, E[q] = rate, and
|E[q b_c]| <= bound_c for every moment b_c. Its dual has one number per moment, whatever the number of
samples, and is concave. A quasi-Newton method finds which numbers are at their bounds; the rest is a linear
system, whose solution is exact.
"""

from typing import Any

import numpy as np

STEPS = 20_000  # of the quasi-Newton method
CLOSE = 1e-7  # of a weight to its bound, or of a moment to its bound
DIGITS = 9  # of weights and rates: what two machines agree on


def moments(attributes: np.ndarray, labels: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(p, m) and (p, c) zeros and ones, (m,) targets -> (p, m (1 + c)): each attribute less its target, then
    that times each label, attribute by attribute."""
    centred = attributes - targets
    crossed = centred[:, :, None] * labels[:, None, :]
    return np.concatenate([centred, crossed.reshape(len(centred), -1)], axis=1)


def representation(shares: np.ndarray, attributes: np.ndarray) -> np.ndarray:
    """(p,) shares or counts of patterns -> (m,) share of samples with each attribute; NaN without samples."""
    with np.errstate(invalid="ignore"):
        found: np.ndarray = shares @ attributes / shares.sum()
    return found


def association(shares: np.ndarray, attributes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(m, c) share with a label among the samples with an attribute, less that among those without; NaN if
    there are none."""
    with np.errstate(invalid="ignore"):
        having = (shares[:, None] * attributes).T
        lacking = (shares[:, None] * (1 - attributes)).T
        found: np.ndarray = having @ labels / having.sum(1, keepdims=True)
        found -= lacking @ labels / lacking.sum(1, keepdims=True)
    return found


def largest_rate(shares: np.ndarray, b: np.ndarray, bounds: np.ndarray, most: float) -> float:
    """The largest E[q] at which all moments keep their bounds: a linear program. Every smaller rate is
    possible, too."""
    from scipy.optimize import linprog

    rows = (shares[:, None] * b).T
    found = linprog(
        -shares, np.vstack([rows, -rows]), np.concatenate([bounds, bounds]), bounds=(0, most), method="highs"
    )
    return max(0.0, round(-float(found.fun), DIGITS))


def weights(
    shares: np.ndarray, b: np.ndarray, bounds: np.ndarray, rate: float, most: float, price: float = np.inf
) -> np.ndarray:
    """(p,) weights. `price`: what the objective pays per unit that a moment is over its bound; inf: nothing
    may be over it, and there must be such weights."""
    problem = _Problem(shares, b, bounds, rate, most)
    dual = problem.dual(price)
    found = problem.polished(dual, price)
    rounded: np.ndarray = np.round(np.clip(found, 0, most), DIGITS)
    return rounded


class _Problem:
    """The quadratic program, see above."""

    def __init__(
        self, shares: np.ndarray, b: np.ndarray, bounds: np.ndarray, rate: float, most: float
    ) -> None:
        self.shares, self.b, self.bounds, self.rate, self.most = shares, b, bounds, rate, most

    def weights(self, dual: np.ndarray) -> np.ndarray:
        """(2 k + 1,) numbers: of the upper bounds, of the lower bounds, of the rate -> (p,) weights."""
        k = len(self.bounds)
        found: np.ndarray = np.clip(self.rate - self.b @ (dual[:k] - dual[k:-1]) - dual[-1], 0, self.most)
        return found

    def _objective(self, dual: np.ndarray) -> tuple[float, np.ndarray]:
        """The dual function and its gradient, both with the sign that makes it a minimisation."""
        q = self.weights(dual)
        moment = (self.shares * q) @ self.b
        slope = np.concatenate([moment - self.bounds, -moment - self.bounds, [self.shares @ q - self.rate]])
        value = self.shares @ (q - self.rate) ** 2 / 2 + dual @ slope
        return -float(value), -slope

    def dual(self, price: float) -> np.ndarray:
        """The numbers that maximise the dual function, nearly."""
        from scipy.optimize import minimize

        k = len(self.bounds)
        limits = [(0, None if np.isinf(price) else price)] * (2 * k) + [(None, None)]
        options = {"maxiter": STEPS, "maxfun": 10 * STEPS, "ftol": 1e-16, "gtol": 1e-11, "maxcor": 50}
        found: Any = minimize(
            self._objective, np.zeros(2 * k + 1), jac=True, method="L-BFGS-B", bounds=limits, options=options
        )
        dual: np.ndarray = found.x
        return dual

    def polished(self, dual: np.ndarray, price: float) -> np.ndarray:
        """(p,) weights: those of `dual`, or, if they are no worse, those that solve its linear system: which
        weights are between their bounds, and which moments are at theirs, is taken from `dual`."""
        k, q = len(self.bounds), self.weights(dual)
        signed = dual[:k] - dual[k:-1]
        free = (q > CLOSE) & (q < self.most - CLOSE)
        paid = np.abs(signed) >= price * (1 - CLOSE)
        tight = (np.abs(signed) > CLOSE) & ~paid
        fixed = self.rate - self.b[:, paid] @ signed[paid]
        columns = np.concatenate([self.b[:, tight], np.ones((len(q), 1))], axis=1)
        rows = (self.shares[:, None] * columns).T
        wanted = np.concatenate([np.sign(signed[tight]) * self.bounds[tight], [self.rate]])
        start = np.where(free, fixed, q)
        step = np.linalg.lstsq(rows[:, free] @ columns[free], rows @ start - wanted, rcond=None)[0]
        better = np.where(free, fixed - columns @ step, q)
        inside = (better > -CLOSE).all() and (better < self.most + CLOSE).all()
        return better if inside and self._excess(better) <= self._excess(q) + CLOSE * paid.any() else q

    def _excess(self, q: np.ndarray) -> float:
        """How far weights are from the rate and the bounds at worst."""
        over = np.abs((self.shares * q) @ self.b) - self.bounds
        return max(abs(float(self.shares @ q) - self.rate), float(over.max(initial=0)))
