"""How good the generators of a dataset are, from who beat whom, and what a verdict between two of them says of the gap.
A reconstruction: ArenaPO's own way of fitting abilities could not be read."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import erfcx, log_ndtr

MOST = 256
"""Models that are fitted, those in the most pairs; the others stay at the prior, ability 0 and spread 1."""

_MEAN_PRIOR = 1.0  # deviation of abilities
_SPREAD_PRIOR = 0.25  # deviation of the logarithm of spreads
_STEPS, _ENOUGH = 200, 1e-12

Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Abilities:
    """Of n models: the mean and the deviation of the quality of what they draw, float64 of shape (n,), each rounded to
    nine places so that it is the same on every machine."""

    mean: Float
    deviation: Float

    def gap(self, winner: npt.NDArray[np.int64], loser: npt.NDArray[np.int64]) -> Float:
        """E[d | d > 0] of d = quality of the winner − that of the loser, given their models: above 0."""
        shift = self.mean[winner] - self.mean[loser]
        spread = np.sqrt(self.deviation[winner] ** 2 + self.deviation[loser] ** 2)
        return np.round(spread * truncated_mean(shift / spread), 9)


def fitted(wins: Float) -> Abilities:
    """The abilities that are likeliest a posteriori. `wins` of shape (n, n) counts how often the model of the row beat
    that of the column, a tie ½ for each; the diagonal is not read.

    The quality of an image of model i is N(μ_i, σ_i²), so i beats j with probability Φ((μ_i − μ_j) / √(σ_i² + σ_j²))
    (Thurstone 1927). Priors: μ_i ~ N(0, 1), ln σ_i ~ N(0, ¼²), which also fix place and unit. By Fisher scoring from
    μ = 0 and σ = 1, a step being halved until it does not lower the posterior.
    """
    n = len(wins)
    wins = np.where(np.eye(n, dtype=bool), 0.0, wins)
    state = np.zeros(2 * n)
    best = _log_posterior(wins, state)
    for _ in range(_STEPS):
        step = _scoring_step(wins, state)
        while (now := _log_posterior(wins, state + step)) < best and np.abs(step).max() > _ENOUGH:
            step = step / 2
        state, best = state + step, max(now, best)
        if np.abs(step).max(initial=0.0) <= _ENOUGH:
            break
    deviation: Float = np.exp(state[n:])
    return Abilities(np.round(state[:n], 9), np.round(deviation, 9))


def truncated_mean(a: Float) -> Float:
    """E[d | d > 0] of d ~ N(a, 1): a + φ(a) / Φ(a), above 0, to nine digits or more for any a.

    By the scaled complementary error function, which does not underflow as Φ does, and below −30, where the sum would
    cancel, by the asymptotic series in 1 / |a|.
    """
    near = np.maximum(a, -30.0)
    inverse = 1 / np.maximum(-a, 30.0)
    far = inverse * (1 - inverse**2 * (2 - 10 * inverse**2))
    return np.where(a < -30, far, near + _hazard(near))


def _hazard(a: Float) -> Float:
    """φ(a) / Φ(a)."""
    result: Float = np.sqrt(2 / np.pi) / erfcx(-a / np.sqrt(2))
    return result


def _differences(state: Float) -> tuple[Float, Float, Float]:
    """σ², and of every two models √(σ_i² + σ_j²) and how far apart they are in it."""
    n = len(state) // 2
    square = np.exp(2 * state[n:])
    spread = np.sqrt(square[:, None] + square[None, :])
    return square, spread, (state[:n, None] - state[None, :n]) / spread


def _log_posterior(wins: Float, state: Float) -> float:
    n = len(state) // 2
    _, _, apart = _differences(state)
    prior = (state[:n] ** 2).sum() / _MEAN_PRIOR**2 + (state[n:] ** 2).sum() / _SPREAD_PRIOR**2
    return float((wins * log_ndtr(apart)).sum() - prior / 2)


def _scoring_step(wins: Float, state: Float) -> Float:
    n = len(state) // 2
    square, spread, apart = _differences(state)
    hazard = _hazard(apart)
    slope = wins * hazard - wins.T * hazard.T  # of the likelihood by `apart`; antisymmetric, as that is
    known = (wins + wins.T) * hazard * hazard.T  # Fisher's information of `apart`
    of_mean = (slope / spread).sum(axis=1) - state[:n] / _MEAN_PRIOR**2
    of_spread = -(slope * apart / spread**2).sum(axis=1) * square - state[n:] / _SPREAD_PRIOR**2
    means, cross, spreads = known / spread**2, -known * apart / spread**3, known * apart**2 / spread**4
    information = np.block(
        [
            [np.diag(means.sum(axis=1)) - means, np.diag(cross.sum(axis=1) * square) + cross * square[None, :]],
            [np.zeros((n, n)), np.diag(spreads.sum(axis=1) * square**2) + spreads * np.outer(square, square)],
        ]
    )
    information[n:, :n] = information[:n, n:].T
    information += np.diag(np.concatenate([np.full(n, 1 / _MEAN_PRIOR**2), np.full(n, 1 / _SPREAD_PRIOR**2)]))
    step: Float = np.linalg.solve(information, np.concatenate([of_mean, of_spread]))
    return step
