from console.coverage import Shown


def test_nothing_shown_covers_nothing():
    assert Shown().coverage() is None


def test_an_old_banner_is_forgotten():
    shown = Shown(banners=1)
    shown.add([1, 2, 3, 4, 5])
    shown.add([1, 6])

    assert shown.coverage() == (2, 1.0)


def test_the_top_share_is_that_of_the_ten_most_shown():
    shown = Shown()
    for _ in range(5):
        shown.add(list(range(10)))
    shown.add(list(range(100, 150)))

    assert shown.coverage() == (60, 0.5)
