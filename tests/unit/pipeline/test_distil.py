"""Looks of a teacher are told of as one piece of work."""

from edgetransfer.spec.progress import part_of


def test_a_part_of_the_looks_tells_of_them_all():
    told = []
    part = part_of(lambda done, whole: told.append((done, whole)), 20, 60)
    part(0, 20)
    part(20, 20)
    assert told == [(20, 60), (40, 60)]
