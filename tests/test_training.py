"""Training from shards to vectors: it learns, its loss is honest, equal runs are equal, bad input is told clearly."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from tests.engine import (
    MODES,
    WORDS_PER_TOPIC,
    CpuEngine,
    model_config,
    topic_sentences,
    train_config,
    use_short_segments,
    write_data,
)
from wordlab import training, training_run
from wordlab.artifacts import read_manifest
from wordlab.config import load_params
from wordlab.embeddings import Embeddings
from wordlab.errors import ArtifactError, CorpusError, ResourceError
from wordlab.sections.model import ModelConfig
from wordlab.sections.train import LearningRates, TrainConfig
from wordlab.shards import map_batch, write_batch
from wordlab.stage import available_cores
from wordlab.training import (
    CurvePoint,
    Trained,
    TrainingData,
    resolve_threads,
    save_curve,
    save_model,
    train_model,
    training_identity,
)
from wordlab.vocab import DICTIONARY_SCHEMA, SamplingTables, Vocab

PARAMS = load_params(Path(__file__).parents[1] / "params.yaml")


def fit(
    data: TrainingData,
    model: ModelConfig | None = None,
    train: TrainConfig | None = None,
    seed: int = 1,
    threads: int = 2,
) -> tuple[CpuEngine, Trained]:
    return train_model(data, model or model_config(), train or train_config(), seed, threads, show_progress=False)


def vectors_of(engine: CpuEngine) -> bytes:
    return engine.input_vectors.tobytes() + engine.output_vectors.tobytes()


@pytest.mark.parametrize("mode", MODES, ids="-".join)
def test_every_method_learns_which_words_belong_together(
    mode: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two topics that share no sentence: afterwards the nine nearest words of each word are those of its topic."""
    use_short_segments(monkeypatch, 4000)
    words = [3 * chr(ord("a") + number) for number in range(2 * WORDS_PER_TOPIC)]  # without a common n-gram
    data = write_data(tmp_path, topic_sentences(2000), words=words)
    model = model_config(*mode, negatives=5, buckets=10_000)
    engine, trained = fit(data, model, train_config(lr=0.05, epochs=3))
    losses = [point.loss for point in trained.curve]
    assert losses[0] < math.log(len(data.vocab) if mode[3] == "softmax" else 2) + 0.01
    assert losses[-1] < 0.95 * losses[0]
    unit = engine.input_vectors / np.linalg.norm(engine.input_vectors, axis=1, keepdims=True)
    nearest = np.argsort(-unit @ unit.T, axis=1)[:, 1:WORDS_PER_TOPIC]
    topic = np.arange(2 * WORDS_PER_TOPIC) // WORDS_PER_TOPIC
    assert np.array_equal(topic[nearest], np.repeat(topic[:, None], WORDS_PER_TOPIC - 1, axis=1))


def test_bits_depend_on_seed_and_data_never_on_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several shards, segments and epochs; more threads than cores; the loss curve too."""
    use_short_segments(monkeypatch, 3000)
    data = write_data(tmp_path, topic_sentences(1200), subsample_t=0.02, shards=3)
    train = train_config(epochs=2)
    engine, trained = fit(data, train=train, threads=1)
    for threads in (1, 2, 3, 5, 8):
        again, trained_again = fit(data, train=train, threads=threads)
        assert vectors_of(again) == vectors_of(engine), threads
        assert trained_again.curve == trained.curve
    other, _ = fit(data, train=train, seed=2)
    assert not np.any(other.input_vectors == engine.input_vectors)


def test_shards_cut_elsewhere_give_another_model_as_good(tmp_path: Path) -> None:
    """Blocks begin anew with each shard, so other cuts share noise words otherwise; only the bits may differ."""
    losses = []
    for shards in (1, 5):
        data = write_data(tmp_path / str(shards), topic_sentences(2000), shards=shards)
        _, trained = fit(data, train=train_config(epochs=2))
        losses.append(np.mean([point.loss for point in trained.curve[shards:]]))
    assert losses[0] == pytest.approx(losses[1], rel=0.01)


@pytest.mark.parametrize("arch, lr", [("skipgram", 0.2), ("cbow", 0.1)])
def test_curve_has_tokens_learning_rate_and_the_mean_loss_since_the_row_before(
    arch: str, lr: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row by row what the engine returns for each segment; lr of the arch, linear in tokens read, to its floor."""
    use_short_segments(monkeypatch, 700)
    data = write_data(tmp_path, topic_sentences(300), shards=2)
    model = model_config(arch)
    train = replace(
        train_config(epochs=2, lr_floor=0.25, batch_tokens=32), lr=LearningRates(skipgram=0.2, cbow=0.1, sent2vec=0.3)
    )
    _, trained = fit(data, model, train)
    engine = CpuEngine(model, train, data.tables, 1, 1)
    expected, tokens, predictions = [], 0, 0.0
    total = data.corpus.num_tokens
    for epoch in range(2):
        for shard in data.corpus.shards:
            for start in range(0, shard.num_tokens, 700):
                position = tokens - epoch * total
                loss, weight = engine.train_segment(shard.ids, shard.offsets[1:], start, position, epoch, total)
                tokens += min(700, shard.num_tokens - start)
                predictions += weight
                rate = lr * max(1 - tokens / (2 * total), 0.25)
                expected.append((len(expected) + 1, tokens, loss / weight, rate))
    engine.close()
    assert tokens == 2 * total
    assert [(p.step, p.tokens, p.loss) for p in trained.curve] == [row[:3] for row in expected]
    assert [p.lr for p in trained.curve] == pytest.approx([row[3] for row in expected])
    assert trained.predictions == pytest.approx(predictions)
    assert trained.seconds > 0 and trained.cpu_seconds > 0


def test_curve_is_no_longer_than_it_must_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row for several segments is their mean by weight; the last row is the end of the training."""
    use_short_segments(monkeypatch, 100)
    data = write_data(tmp_path, topic_sentences(300))
    _, long = fit(data)
    monkeypatch.setattr(training_run, "CURVE_POINTS", 5)
    _, short = fit(data)
    assert 4 <= len(short.curve) <= 6 < 20 < len(long.curve)
    assert short.curve[-1].tokens == long.curve[-1].tokens == data.corpus.num_tokens
    assert short.predictions == pytest.approx(long.predictions)
    low, high = min(p.loss for p in long.curve), max(p.loss for p in long.curve)
    assert all(low < p.loss < high for p in short.curve)


def test_curve_file_is_tsv_with_a_header(tmp_path: Path) -> None:
    path = tmp_path / "curves" / "seed-1.tsv"
    save_curve(path, [CurvePoint(1, 1000, 0.69314718, 0.05), CurvePoint(2, 2_000_000_000, 0.25, 5e-06)])
    assert path.read_text() == "step\ttokens\tloss\tlr\n1\t1000\t0.693147\t0.05\n2\t2000000000\t0.25\t5e-06\n"


def test_progress_shows_words_loss_and_learning_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_model(write_data(tmp_path, topic_sentences(100)), model_config(), train_config(), 7, 1)
    shown = capsys.readouterr().err
    assert "train seed 7: 100%" in shown and "word/s" in shown and "loss=0." in shown and "lr=" in shown


def test_threads_0_means_all_cores() -> None:
    assert resolve_threads(0) == available_cores()
    assert resolve_threads(3) == 3


TOYS = [
    *((arch, num_words) for arch in ("skipgram", "cbow") for num_words in (1, 2, 5, 20)),
    *(("sent2vec", num_words) for num_words in (20, 200)),  # of 2 and 5 words it diverges: docs/engine.md says so
]


@pytest.mark.parametrize("arch, num_words", TOYS)
def test_toy_corpora_hold_with_the_settings_of_params_yaml(arch: str, num_words: int, tmp_path: Path) -> None:
    """Where a handful of words meet all the time, a micro-batch made for real text would overshoot; see damping."""
    rng = np.random.default_rng(num_words)
    data = write_data(tmp_path, [rng.integers(0, num_words, 20).tolist() for _ in range(150)])
    train = replace(PARAMS.train, epochs=60, lr_floor=1.0)
    engine, trained = fit(data, replace(PARAMS.model, arch=arch, dim=16), train)
    assert np.isfinite(engine.table).all()
    assert trained.curve[-1].loss < math.log(2)


@pytest.mark.parametrize("num_words", [1, 3, 20, 1000, 100_000])
def test_micro_batches_shrink_with_the_vocabulary_and_stay_whole_blocks(num_words: int) -> None:
    """Never longer than in params.yaml, never empty; a large vocabulary changes nothing."""
    counts = np.full(num_words, 7)
    fitted = training.fit_to_vocabulary(PARAMS.train, counts, SamplingTables.build(counts, 0.0, 0.75), None)
    assert 1 <= fitted.block_tokens <= min(PARAMS.train.block_tokens, fitted.batch_tokens)
    assert fitted.batch_tokens % fitted.block_tokens == 0
    assert fitted.batch_tokens / num_words <= training.SAME_WORD_TOKENS
    assert (fitted == PARAMS.train) == (num_words >= 1000)


@pytest.mark.parametrize("arch", ["skipgram", "cbow"])
def test_a_training_that_diverges_stops_and_says_what_to_lower(
    arch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_short_segments(monkeypatch, 2000)
    data = write_data(tmp_path, topic_sentences(1000))
    train = train_config(lr=10.0, damping=0.0, epochs=3, batch_tokens=1024)
    with pytest.raises(CorpusError) as error:
        fit(data, model_config(arch), train)
    message = str(error.value)
    assert message.startswith("The training diverged: after ") and "nothing has 0.693" in message
    assert message.endswith(
        f"Lower train.lr.{arch} or train.batch_tokens, or raise train.block_negatives.{arch} or train.damping.{arch}."
    )


@pytest.mark.parametrize(
    "sentences", [[[0, 1, 2]], [[0, 0]], [[0], [1], [0, 1], [2]]], ids=["one sentence", "one word", "one pair"]
)
@pytest.mark.parametrize("arch", ["skipgram", "cbow"])
def test_the_smallest_corpora_train(arch: str, sentences: list[list[int]], tmp_path: Path) -> None:
    data = write_data(tmp_path, sentences)
    engine, trained = fit(data, model_config(arch))
    assert np.isfinite(engine.table).all() and trained.predictions > 0
    assert trained.curve[-1].tokens == data.corpus.num_tokens


def test_an_empty_shard_is_passed_over(tmp_path: Path) -> None:
    """First, in the middle, last: the model is that of the shards without it."""
    sentences = topic_sentences(100)
    plain = fit(write_data(tmp_path / "a", sentences, shards=2))
    data = write_data(tmp_path / "b", sentences, shards=2)
    empty = replace(data.corpus.shards[0], ids=np.zeros(0, np.int32), offsets=np.zeros(1, np.int64))
    first, second = data.corpus.shards
    padded = replace(data, corpus=replace(data.corpus, shards=[empty, first, empty, second, empty]))
    engine, trained = fit(padded)
    assert vectors_of(engine) == vectors_of(plain[0])
    assert trained.curve[-1] == plain[1].curve[-1]


@pytest.mark.parametrize("sentences", [[[0]], [[0], [1], [2], [0]]], ids=["one token", "one-word sentences"])
def test_a_corpus_without_a_pair_is_refused_at_once(sentences: list[list[int]], tmp_path: Path) -> None:
    with pytest.raises(CorpusError) as error:
        write_data(tmp_path, sentences)
    assert "has no sentence of two words or more" in str(error.value)
    assert "lower vocab.min_count" in str(error.value)


def test_windows_dropped_until_none_is_left_is_an_error(tmp_path: Path) -> None:
    """`drop` leaves out targets with a ragged window, and in sentences of two words every window is ragged."""
    data = write_data(tmp_path, [[0, 1]] * 20)
    with pytest.raises(CorpusError, match=r"No pair of words was left to train on\. .* set model\.window_edges to cut"):
        fit(data, model_config(edges="drop"))


@pytest.mark.parametrize("wrong, found", [(20, "from 0 to 20"), (-1, "from -1 to 19")])
def test_word_ids_out_of_range_are_refused(wrong: int, found: str, tmp_path: Path) -> None:
    """They would read and write outside the table."""
    data = write_data(tmp_path, topic_sentences(50), shards=2)
    shard = data.corpus.shards[1]
    ids = shard.ids.copy()
    ids[-1] = wrong
    shards = [data.corpus.shards[0], replace(shard, ids=ids)]
    with pytest.raises(ArtifactError) as error:
        fit(replace(data, corpus=replace(data.corpus, shards=shards)))
    message = str(error.value)
    assert "ids-00001.arrow" in message and found in message and "int32 from 0 to 19" in message
    assert message.endswith("Run: dvc repro encode")


def test_text_where_ids_belong_is_refused(tmp_path: Path) -> None:
    """A shard of words instead of word ids: the message names both forms and the stage to run."""
    write_data(tmp_path, [[0, 1, 2]])
    path = tmp_path / "data/encode/ids-00000.arrow"
    lists = pa.array([["a", "cat", "sat"]], pa.large_list(pa.large_string()))
    write_batch(path, pa.record_batch([lists], names=["sentences"]))
    manifest = tmp_path / "data/encode/manifest.json"
    content = json.loads(manifest.read_text())
    content["files"]["ids-00000.arrow"]["size_bytes"] = path.stat().st_size
    manifest.write_text(json.dumps(content))
    with pytest.raises(ArtifactError) as error:
        TrainingData.open(tmp_path / "data/vocab", tmp_path / "data/encode")
    message = str(error.value)
    assert "ids-00000.arrow" in message and "string" in message and "int32" in message
    assert message.endswith("Run: dvc repro encode")


def test_shards_of_another_vocabulary_are_refused(tmp_path: Path) -> None:
    """vocab was run again with other words, encode was not."""
    write_data(tmp_path, [[0, 1, 2, 0]])
    write_data(tmp_path / "new", [[0, 1, 0, 1]])
    with pytest.raises(ArtifactError, match=r"The vocabulary changed after encoding\. Run: dvc repro encode"):
        TrainingData.open(tmp_path / "new/data/vocab", tmp_path / "data/encode")


def test_sampling_tables_of_another_vocabulary_are_refused(tmp_path: Path) -> None:
    write_data(tmp_path, [[0, 1, 2, 0]])
    SamplingTables.build(np.array([5, 5]), 0.0, 0.75).save(tmp_path / "data/vocab/sampling.arrow", "0" * 64)
    with pytest.raises(ArtifactError, match=r"was written for vocabulary 000000000000 of 2 words"):
        TrainingData.open(tmp_path / "data/vocab", tmp_path / "data/encode")


@pytest.mark.parametrize("name", ["vocab/words.arrow", "vocab/sampling.arrow", "encode/manifest.json"])
def test_a_missing_file_is_named_with_the_stage_that_writes_it(name: str, tmp_path: Path) -> None:
    write_data(tmp_path, [[0, 1, 2, 0]])
    (tmp_path / "data" / name).unlink()
    with pytest.raises(ArtifactError, match=rf"{name} is missing\. Run: dvc repro {name.split('/')[0]}"):
        TrainingData.open(tmp_path / "data/vocab", tmp_path / "data/encode")


def test_too_little_memory_is_told_before_anything_is_allocated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_data(tmp_path, [[0, 1, 2]])
    monkeypatch.setattr("wordlab.machine.available_memory_bytes", lambda: 1_000_000)
    monkeypatch.setattr(training, "CpuEngine", lambda *arguments: pytest.fail("allocated all the same"))
    with pytest.raises(ResourceError) as error:
        fit(data, model_config(dim=4096))
    message = str(error.value)
    assert "6 vectors of 4096 numbers need" in message and "1 MB are free" in message
    assert "a smaller model.dim, a higher vocab.min_count or a vocab.max_size" in message


def test_subwords_name_their_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_data(tmp_path, [[0, 1, 2]])
    monkeypatch.setattr("wordlab.machine.available_memory_bytes", lambda: 1_000_000)
    with pytest.raises(ResourceError, match=r"6 vectors, and [0-9]+ of n-grams, of 16 numbers need"):
        fit(data, model_config(units="characters"))


def test_full_softmax_names_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It grows with the vocabulary times the micro-batch, which the vectors alone do not tell."""
    data = write_data(tmp_path, [[0, 1, 2]])
    monkeypatch.setattr("wordlab.machine.available_memory_bytes", lambda: 1_000_000)
    message = r"and the scores of all words for 6 tokens need .* or another model\.objective"
    with pytest.raises(ResourceError, match=message):
        fit(data, model_config(objective="softmax"))


def test_hierarchical_softmax_saves_the_vectors_of_inner_nodes(tmp_path: Path) -> None:
    """There are no output vectors of words, and who asks for them is told why."""
    data = write_data(tmp_path, topic_sentences(100))
    folder = saved(tmp_path / "data/train/seed-1", data, objective="hs")
    assert np.load(folder / "node_vectors.npy").shape == (len(data.vocab) - 1, 6)
    assert np.load(folder / "node_vectors.npy").any(axis=1).all() and not (folder / "output_vectors.npy").exists()
    assert Embeddings.load(folder).dim == 6
    with pytest.raises(ArtifactError, match="trained by hierarchical softmax, which has vectors of inner nodes"):
        Embeddings.load(folder, output_vectors=True)


def saved(folder: Path, data: TrainingData, seed: int = 1, objective: str = "ns") -> Path:
    params = replace(PARAMS, model=model_config(dim=6, objective=objective), train=train_config())
    engine, _ = fit(data, params.model, params.train, seed)
    save_model(folder, engine, data, params, seed)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_saved_model_is_complete_and_can_be_mapped(tmp_path: Path) -> None:
    """float32 rows without the padding of the table, the words, and a manifest that says what they came from."""
    data = write_data(tmp_path, topic_sentences(100))
    folder = saved(tmp_path / "data/train/seed-1", data)
    engine, _ = fit(data, model_config(dim=6), train_config())
    for name, vectors in (("input", engine.input_vectors), ("output", engine.output_vectors)):
        stored = np.load(folder / f"{name}_vectors.npy", mmap_mode="r")
        assert stored.shape == (20, 6) and stored.dtype == np.float32 and stored.flags.c_contiguous
        assert np.array_equal(stored, vectors)
    assert Vocab.load(folder / "words.arrow").words == data.vocab.words
    assert map_batch(folder / "words.arrow", DICTIONARY_SCHEMA, "train").column(1).to_pylist() == list(
        data.vocab.counts
    )
    manifest = read_manifest(folder, "train", verify=True)
    assert set(manifest["files"]) == {"input_vectors.npy", "output_vectors.npy", "words.arrow"}
    assert manifest["seed"] == 1 and manifest["vocabulary"] == data.vocab.fingerprint
    assert manifest["encode"] == data.corpus.fingerprint
    assert manifest["config"]["model"]["dim"] == 6 and manifest["config"]["train"]["lr"]["cbow"] == 0.1
    assert {"corpus", "model", "train", "vocab"} <= set(manifest["config"])
    assert manifest["engine"] == {"name": "cpu", "block_tokens": 16, "batch_tokens": 32}


@pytest.mark.parametrize("normalizer", ["plain", "wiki", "korean"])
def test_a_manifest_names_the_normalizer_where_it_changes_sentences(tmp_path: Path, normalizer: str) -> None:
    data = write_data(tmp_path, topic_sentences(100))
    tokenize = replace(PARAMS.tokenize, normalizer=normalizer)
    params = replace(PARAMS, tokenize=tokenize, model=model_config(dim=6), train=train_config())
    engine, _ = fit(data, params.model, params.train)
    save_model(tmp_path / "model", engine, data, params, 1)
    told = read_manifest(tmp_path / "model", "train")["config"]["tokenize"]
    assert told == {"tokenizer": "words", "lowercase": True} | (
        {"normalizer": "korean"} if normalizer == "korean" else {}
    )


def test_equal_runs_write_equal_bytes(tmp_path: Path) -> None:
    data = write_data(tmp_path, topic_sentences(100))
    first = contents(saved(tmp_path / "first/seed-1", data))
    assert contents(saved(tmp_path / "second/seed-1", data)) == first
    other = contents(saved(tmp_path / "third/seed-2", data, seed=2))
    assert {name for name in first if first[name] != other[name]} == set(first) - {"words.arrow"}


def test_a_new_model_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    data = write_data(tmp_path, topic_sentences(100))
    folder = tmp_path / "data/train/seed-1"
    folder.mkdir(parents=True)
    (folder / "stale.txt").write_text("from an older version")
    assert "stale.txt" not in contents(saved(folder, data))
    assert [path.name for path in folder.parent.iterdir()] == ["seed-1"]


def test_a_disk_too_small_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_data(tmp_path, topic_sentences(100))
    monkeypatch.setattr("wordlab.machine.free_disk_bytes", lambda path: 100)
    with pytest.raises(ResourceError, match=r"seed-1 will need about .* but its disk has 100 B left"):
        saved(tmp_path / "data/train/seed-1", data)
    assert not (tmp_path / "data/train").exists()


def test_an_output_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    """Here a file is where the folder of models should be."""
    data = write_data(tmp_path, topic_sentences(100))
    (tmp_path / "data/train").write_text("not a folder")
    with pytest.raises(ArtifactError, match=r"seed-1 could not be written"):
        saved(tmp_path / "data/train/seed-1", data)
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["encode", "train", "vocab"]


def test_training_reads_every_token_once_an_epoch_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shard after shard, segment after segment, without a gap or an overlap: positions run on over shards."""
    use_short_segments(monkeypatch, 64)
    data = write_data(tmp_path, topic_sentences(60), shards=3)
    read: list[tuple[int, Sequence[int]]] = []

    def record(
        self: CpuEngine,
        ids: NDArray[np.int32],
        ends: NDArray[np.int64],
        start: int,
        position: int,
        epoch: int,
        total: int,
    ) -> tuple[float, float]:
        read.append((epoch * total + position, ids[start : start + 64].tolist()))
        assert ends[-1] == len(ids) and total == data.corpus.num_tokens
        return 1.0, 2.0

    monkeypatch.setattr(training, "compile_kernels", lambda *arguments: None)
    monkeypatch.setattr(CpuEngine, "train_segment", record)
    fit(data, train=train_config(epochs=2))
    corpus = [word_id for shard in data.corpus.shards for word_id in shard.ids.tolist()]
    assert [word_id for _, ids in read for word_id in ids] == 2 * corpus
    assert [position for position, _ in read] == np.cumsum([0, *(len(ids) for _, ids in read[:-1])]).tolist()


def test_the_identity_of_a_training_holds_all_that_decides_its_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the code: a checkpoint of another version of it is never found."""
    sentences = topic_sentences(100)
    data = write_data(tmp_path / "a", sentences)
    model, train = model_config(), train_config()
    first = training_identity(data, model, train, 1)
    assert json.loads(json.dumps(first)) == first
    assert training_identity(write_data(tmp_path / "b", sentences), model, train, 1) == first
    others = [
        training_identity(data, replace(model, window=4), train, 1),
        training_identity(data, model, replace(train, epochs=2), 1),
        training_identity(data, model, train, 2),
        training_identity(data, model, train, 1, engine={"name": "torch"}),
        training_identity(write_data(tmp_path / "c", sentences, subsample_t=0.01), model, train, 1),
        training_identity(write_data(tmp_path / "d", sentences, shards=2), model, train, 1),
        training_identity(write_data(tmp_path / "e", sentences, words=[f"w{i}" for i in range(20)]), model, train, 1),
    ]
    monkeypatch.setattr(training, "code_digest", lambda engine: "another version")
    others.append(training_identity(data, model, train, 1))
    texts = {json.dumps(identity, sort_keys=True) for identity in (first, *others)}
    assert len(texts) == 1 + len(others)
