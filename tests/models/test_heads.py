import torch

from mmperson.config import HeadsConfig
from mmperson.models.heads import EnsembleHead


def test_the_score_is_the_mean_of_the_members():
    torch.manual_seed(0)
    head = EnsembleHead(HeadsConfig(members=3), dim=8, traits=5)
    fused = torch.randn(2, 5, 8)
    members = []
    for member in range(3):
        x = fused
        for index, (weight, bias) in enumerate(zip(head.weights, head.biases, strict=True)):
            x = (x.relu() if index else x) @ weight[member] + bias[member]
        members.append(x.squeeze(-1))
    torch.testing.assert_close(head(fused), 0.5 + 0.15 * torch.stack(members).mean(dim=0))


def test_scores_are_in_units_of_the_training_targets():
    head = EnsembleHead(HeadsConfig(members=2), dim=8, traits=2)
    head.fit_scale(torch.tensor([[0.2, 0.6], [0.4, 0.8]]))
    torch.testing.assert_close(head.base, torch.tensor([0.3, 0.7]))
    torch.testing.assert_close(head.scale, torch.tensor([0.02, 0.02]).sqrt())
