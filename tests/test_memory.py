"""The memory of a training: more inputs take more, and as many are computed at a time as fit and divide the batch."""

import pytest

from bert_repro.checkpoints.families import Config
from bert_repro.finetune import Recipe, memory

BASE = Config(30_522, 768, 12, 12, 3072, 512)


@pytest.mark.parametrize("frozen", [0, 4, 12])
@pytest.mark.parametrize("gigabytes", [8.0, 12.0, 16.0, 24.0])
def test_the_most_inputs_that_divide_the_batch_and_fit_are_taken(frozen, gigabytes):
    chosen = memory.micro_batch(BASE, frozen, 24, 384, gigabytes)
    divisors = [size for size in range(1, 25) if 24 % size == 0]
    fitting = [
        size for size in divisors if memory.taken(BASE, frozen, size, 384, size < 24) <= memory.SPARE * gigabytes * 1e9
    ]
    assert (chosen or 24) == max(fitting) and chosen in {0, *divisors[:-1]}


@pytest.mark.slow
def test_more_memory_never_means_fewer_inputs_at_a_time():
    chosen = [memory.micro_batch(BASE, 0, 32, 384, gigabytes) or 32 for gigabytes in range(7, 60)]
    assert chosen == sorted(chosen) and len(set(chosen)) > 3


def test_memory_that_one_input_does_not_fit_into_is_refused_with_what_would_do():
    with pytest.raises(
        ValueError, match="memory: a training of this encoder takes at least 6.1 GB, got 2: give as many"
    ):
        memory.micro_batch(BASE, 0, 32, 384, 2)
    assert memory.micro_batch(BASE, 0, 32, 384, 6.1) == 1


def test_weights_that_are_frozen_learn_nothing():
    block = memory.weights(BASE, 11)
    assert block == 7_087_872  # of BERT base
    embeddings = (30_522 + 512 + 2 + 2) * 768  # words, places, segments, norm
    assert memory.weights(BASE, 12) == 0 and memory.weights(BASE) == 12 * block + embeddings
    assert memory.taken(BASE, 12, 5, 100, False) == 4 * memory.COPIES * memory.weights(BASE)


def test_a_recipe_says_how_many_inputs_or_has_them_chosen():
    recipe = Recipe("squad", "squad:train", "squad:dev", updates=9, batch_size=32)
    assert recipe.fitting(BASE).micro_batch == 8 and recipe.fitting(BASE).parts == 4
    small = Config(3058, 32, 2, 2, 64, 512)
    assert recipe.fitting(small) == recipe  # a whole batch fits
    stated = Recipe("squad", "squad:train", "squad:dev", updates=9, batch_size=32, micro_batch=16)
    assert stated.fitting(BASE) == stated
