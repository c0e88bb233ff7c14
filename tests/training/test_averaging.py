import torch

from dusha_ser.training.averaging import make_average, swap_weights


def test_average_follows_the_weights_and_gives_them_back():
    model = torch.nn.BatchNorm1d(2)
    average = make_average(model, 0.5)
    expected = torch.zeros(2)
    for step in range(20):
        with torch.no_grad():
            model.weight.fill_(float(step))
            model.num_batches_tracked += 1
        average.update_parameters(model)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = model.weight.detach() * (1 - decay) + expected * decay
    swap_weights(model, average.module)
    torch.testing.assert_close(model.weight.detach(), expected)
    assert int(model.num_batches_tracked) == 20
    swap_weights(model, average.module)
    assert model.weight.tolist() == [19.0, 19.0]
