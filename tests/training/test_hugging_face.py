"""Models of Hugging Face train as they are, masked, tied, and by their own loss."""

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mutransfer as mt
from mutransfer.tasks import Task, cross_entropy
from mutransfer.training import Member, Recipe, StackingWarning, train, train_one_by_one
from tests.models.hugging_face import LANGUAGE, built
from tests.training.networks import accuracy, assert_same

SMALL = LANGUAGE | {"max_position_embeddings": 16}
MODELS = {
    "llama": built("LlamaForCausalLM", **SMALL, num_key_value_heads=1),
    "llama, tied": built(
        "LlamaForCausalLM", **SMALL, num_key_value_heads=1, tie_word_embeddings=True
    ),
    # With a token of padding and no mask, GPT-2 looks for it in the data to warn of it.
    "gpt2": built(
        "GPT2LMHeadModel",
        **SMALL | {"pad_token_id": None},
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
    ),
    "bert": built(
        "BertForSequenceClassification",
        **SMALL,
        num_labels=3,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    ),
}
DRAW = torch.Generator().manual_seed(0)
TOKENS = torch.randint(1, 64, (48, 9), generator=DRAW)
MASK = torch.ones(48, 8, dtype=torch.long)
MASK[::2, :3] = 0


def own_loss(output: Any, targets: Tensor) -> Tensor:
    """The loss that the model itself computes from its labels."""
    return output.loss  # type: ignore[no-any-return]


def task(case: str, masked: bool, labelled: bool) -> Task:
    """Next tokens, or the class of a text."""
    targets = TOKENS[:, 0] % 3 if case == "bert" else TOKENS[:, 1:]
    inputs = {"input_ids": TOKENS[:, :-1]}
    inputs |= {"attention_mask": MASK} if masked else {}
    inputs |= {"labels": targets if case == "bert" else TOKENS[:, :-1]} if labelled else {}
    return Task(
        name=case,
        inputs={key: value[12:] for key, value in inputs.items()},
        targets=targets[12:],
        loss=own_loss if labelled else cross_entropy,
        validation=({key: value[:12] for key, value in inputs.items()}, targets[:12]),
        metrics={"accuracy": accuracy},
    )


def members(case: str, data: Task) -> list[Member]:
    model, base = MODELS[case](16, 2).double(), MODELS[case](8, 2).double()
    example = {key: value[:2] for key, value in data.inputs.items()}
    plan = mt.plan(model, base, example_inputs=example)
    plan.initialize(model)
    return [
        Member(model=model, table=plan.table(model, lr), seed=seed, clip=plan.clip)
        for lr, seed in ((0.01, 0), (0.02, 0), (0.01, 1))
    ]


def recipe(data: Task) -> Recipe:
    return Recipe(task=data, steps=24, batch=12, schedule="wsd", clip=1.0, evaluate=10)


@pytest.mark.parametrize("case", MODELS)
def test_they_train_stacked(case: str) -> None:
    data = task(case, masked=False, labelled=False)
    networks = members(case, data)
    stacked = train(networks, recipe(data))
    assert_same(stacked, train_one_by_one(networks, recipe(data)))
    assert (stacked.losses[:, -3:].mean(1) < stacked.losses[:, :3].mean(1)).all()


@pytest.mark.parametrize("case", MODELS)
def test_by_their_own_loss_they_train_to_its_precision(case: str) -> None:
    """Their loss of next tokens is computed in single precision, whatever the model's."""
    data = task(case, masked=False, labelled=True)
    networks = members(case, data)
    stacked, alone = train(networks, recipe(data)), train_one_by_one(networks, recipe(data))
    torch.testing.assert_close(stacked.losses, alone.losses, rtol=1e-4, atol=0)


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("case", MODELS)
def test_masks_are_looked_at_so_that_they_train_one_by_one(case: str, labelled: bool) -> None:
    data = task(case, masked=True, labelled=labelled)
    networks = members(case, data)
    with pytest.warns(StackingWarning, match="trains one by one") as caught:
        trained = train(networks, recipe(data))
    assert len(caught) == 1
    assert_same(trained, train_one_by_one(networks, recipe(data)), rtol=1e-9)
    assert trained.losses[0, -1] < trained.losses[0, 0]


def test_the_one_by_one_loop_is_that_of_a_user() -> None:
    data = task("llama", masked=True, labelled=False)
    (first, *_) = networks = members("llama", data)
    model: nn.Module = MODELS["llama"](16, 2).double()
    model.load_state_dict(first.model.state_dict())
    plan = mt.plan(model, MODELS["llama"](8, 2).double(), example_inputs=data.feed(0, 1, 2)[0][0])
    optimizer = torch.optim.AdamW(plan.param_groups(model, 0.01))
    losses = []
    for rows in data.batches(0, 6, 12):
        optimizer.zero_grad()
        output = model(**{key: value[rows] for key, value in data.inputs.items()})
        loss = cross_entropy(output, data.targets[rows])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.detach())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StackingWarning)
        found = train(networks, Recipe(task=data, steps=6, batch=12)).losses[0]
    torch.testing.assert_close(found, torch.stack(losses), rtol=1e-12, atol=0)
