"""The learning curve."""

import pytest

from console.curve import BUCKETS, FIRST_WIDTH, Curve


def test_the_curve_stays_bounded_and_loses_no_banner() -> None:
    curve = Curve()

    for number in range(3 * BUCKETS * FIRST_WIDTH):
        curve.settle("policy" if number % 10 else "control", 1.0, number)

    points = curve.points()
    assert len(points) <= BUCKETS
    assert points[-1].banners == curve.banners == 3 * BUCKETS * FIRST_WIDTH
    assert {point.policy.mean for point in points} == {1.0}


def test_a_correction_goes_to_the_bucket_of_its_banner() -> None:
    curve = Curve()
    first = curve.settle("policy", 0.0, 0)
    for _ in range(2 * FIRST_WIDTH):
        curve.settle("policy", 0.0, 0)

    curve.correct("policy", first, 0.0, 1.6)

    means = [point.policy.mean for point in curve.points()]
    assert means == [pytest.approx(1.6 / FIRST_WIDTH), 0.0, 0.0]


def test_the_band_is_the_normal_interval_of_the_mean() -> None:
    curve = Curve()
    for reward in (0.0, 1.0, 0.0, 1.0):
        curve.settle("control", reward, 0)

    mean = curve.points()[0].control

    half = 1.959964 * (1 / 3) ** 0.5 / 2
    assert (mean.low, mean.high) == (pytest.approx(0.5 - half), pytest.approx(0.5 + half))


def test_an_arm_without_banners_has_no_mean_and_one_banner_no_band() -> None:
    curve = Curve()
    curve.settle("policy", 1.0, 0)

    point = curve.points()[0]

    assert (point.control.mean, point.policy.mean, point.policy.low) == (None, 1.0, None)
