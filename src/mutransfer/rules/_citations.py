"""BibTeX of the papers that rules and optimizer families come from."""

from __future__ import annotations

from collections.abc import Iterable

from ..core import MutransferError

# Key, title, authors and year of each paper.
_PAPERS = {
    "1804.06561": (
        "mei2018mean",
        "A Mean Field View of the Landscape of Two-Layer Neural Networks",
        "Song Mei and Andrea Montanari and Phan-Minh Nguyen",
        2018,
    ),
    "1806.07572": (
        "jacot2018ntk",
        "Neural Tangent Kernel: Convergence and Generalization in Neural Networks",
        "Arthur Jacot and Franck Gabriel and Clément Hongler",
        2018,
    ),
    "2011.14522": (
        "yang2020tp4",
        "Feature Learning in Infinite-Width Neural Networks",
        "Greg Yang and Edward J. Hu",
        2020,
    ),
    "2203.03466": (
        "yang2022tp5",
        "Tensor Programs V: Tuning Large Neural Networks via Zero-Shot Hyperparameter Transfer",
        "Greg Yang and Edward J. Hu and Igor Babuschkin and Szymon Sidor and Xiaodong Liu and "
        "David Farhi and Nick Ryder and Jakub Pachocki and Weizhu Chen and Jianfeng Gao",
        2022,
    ),
    "2309.16620": (
        "bordelon2023depthwise",
        "Depthwise Hyperparameter Transfer in Residual Networks: Dynamics and Scaling Limit",
        "Blake Bordelon and Lorenzo Noci and Mufan Bill Li and Boris Hanin and Cengiz Pehlevan",
        2023,
    ),
    "2310.02244": (
        "yang2023tp6",
        "Tensor Programs VI: Feature Learning in Infinite-Depth Neural Networks",
        "Greg Yang and Dingli Yu and Chen Zhu and Soufiane Hayou",
        2023,
    ),
    "2310.17813": (
        "yang2023spectral",
        "A Spectral Condition for Feature Learning",
        "Greg Yang and James B. Simon and Jeremy Bernstein",
        2023,
    ),
    "2407.05872": (
        "everett2024scaling",
        "Scaling Exponents Across Parameterizations and Optimizers",
        "Katie Everett and Lechao Xiao and Mitchell Wortsman and Alexander A. Alemi and Roman "
        "Novak and Peter J. Liu and Izzeddin Gur and Jascha Sohl-Dickstein and Leslie Pack "
        "Kaelbling and Jaehoon Lee and Jeffrey Pennington",
        2024,
    ),
    "2407.17465": (
        "blake2024umup",
        "u-$\\mu$P: The Unit-Scaled Maximal Update Parametrization",
        "Charlie Blake and Constantin Eichenberg and Josef Dean and Lukas Balles and Luke Y. "
        "Prince and Björn Deiseroth and Andres Felipe Cruz-Salinas and Carlo Luschi and Samuel "
        "Weinbach and Douglas Orr",
        2024,
    ),
    "2505.01618": (
        "dey2025completep",
        "Don't Be Lazy: CompleteP Enables Compute-Efficient Deep Transformers",
        "Nolan Dey and Bin Claire Zhang and Lorenzo Noci and Mufan Li and Blake Bordelon and Shane "
        "Bergsma and Cengiz Pehlevan and Boris Hanin and Joel Hestness",
        2025,
    ),
    "2512.05620": (
        "qiu2025hyperparameter",
        "Hyperparameter Transfer Enables Consistent Gains of Matrix-Preconditioned Optimizers "
        "Across Scales",
        "Shikai Qiu and Zixi Chen and Hoang Phan and Qi Lei and Andrew Gordon Wilson",
        2025,
    ),
    "2603.00541": (
        "zheng2026spectral",
        "Spectral Condition for $\\mu$P under Width-Depth Scaling",
        "Chenyu Zheng and Rongzhen Wang and Xinyu Zhang and Chongxuan Li",
        2026,
    ),
}


def bibtex(keys: Iterable[str]) -> str:
    """Return BibTeX entries of these papers, each once, in the order given.

    Args:
        keys: arXiv numbers of known papers, or whole BibTeX entries of one's own.

    Raises:
        MutransferError: a paper is not known.
    """
    entries = dict.fromkeys(keys)
    return "\n\n".join(key if key.startswith("@") else _entry(key) for key in entries)


def _entry(arxiv: str) -> str:
    if arxiv not in _PAPERS:
        raise MutransferError(
            f"no BibTeX is known for {arxiv!r}: give the whole entry, beginning with @, in its "
            "place"
        )
    key, title, author, year = _PAPERS[arxiv]
    fields = {
        "title": title,
        "author": author,
        "year": year,
        "eprint": arxiv,
        "archivePrefix": "arXiv",
    }
    body = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    return f"@misc{{{key},\n{body}\n}}"
