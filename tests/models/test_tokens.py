import pytest
import torch

from mmperson.models.tokens import Tokens, average_tokens


@pytest.mark.parametrize("stride", [1, 2, 3, 5, 9])
def test_averages_count_real_tokens_alone(stride):
    random = torch.Generator().manual_seed(0)
    values = torch.randn(2, 7, 3, generator=random)
    mask = torch.tensor([[1.0] * 7, [1.0] * 4 + [0.0] * 3])
    found = average_tokens(Tokens(values, mask), stride)
    for row, real in enumerate((7, 4)):
        parts = values[row, :real].split(stride)
        assert found.mask[row].sum() == len(parts)
        for index, part in enumerate(parts):
            torch.testing.assert_close(found.values[row, index], part.mean(dim=0))
    assert found.mask.shape[1] == -(-7 // stride)


def test_padding_changes_no_average():
    values = torch.randn(1, 5, 2, generator=torch.Generator().manual_seed(0))
    short = average_tokens(Tokens(values, torch.ones(1, 5)), 2)
    padded = Tokens(torch.cat([values, 9 + values], dim=1), torch.tensor([[1.0] * 5 + [0.0] * 5]))
    long = average_tokens(padded, 2)
    torch.testing.assert_close(long.values[:, :3], short.values)
    assert long.mask.tolist() == [[1, 1, 1, 0, 0]]
