"""Which files in a directory are taken for a certificate and its private key."""

from pathlib import Path

import pytest

from aiotls.errors import CertificateError
from aiotls.trust.layouts import find_pairs


def make(directory: Path, *names: str) -> None:
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def pairs(directory: Path) -> dict[str, tuple[str, str | None]]:
    """The pairs by what they are called, with paths in the directory."""
    start = len(str(directory)) + 1
    found = find_pairs(str(directory))
    assert len(set(found.values())) == len(found)
    return {name: (certificate[start:], key and key[start:]) for (certificate, key), name in found.items()}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["a.crt", "a.key"], {"a": ("a.crt", "a.key")}),
        (["a.pem", "a.key"], {"a": ("a.pem", "a.key")}),
        (["a.pem", "a-key.pem"], {"a": ("a.pem", "a-key.pem")}),
        (["a.pem"], {"a": ("a.pem", None)}),
        (["www.a.test.crt", "www.a.test.key"], {"www.a.test": ("www.a.test.crt", "www.a.test.key")}),
        (["live/a.test/fullchain.pem", "live/a.test/privkey.pem"], {}),
        (["a.test/fullchain.pem", "a.test/privkey.pem"], {"a.test": ("a.test/fullchain.pem", "a.test/privkey.pem")}),
        (["a.test/cert.pem", "a.test/key.pem"], {"a.test": ("a.test/cert.pem", "a.test/key.pem")}),
        (["a.test/tls.crt", "a.test/tls.key"], {"a.test": ("a.test/tls.crt", "a.test/tls.key")}),
        (["a/b.crt", "a/b.key"], {}),
        (["a/tls.crt", "a/tls.key", "a/key.pem"], {"a": ("a/tls.crt", "a/tls.key")}),
        (["fullchain.pem", "privkey.pem"], {"certs": ("fullchain.pem", "privkey.pem")}),
        (["cert.pem", "key.pem"], {"certs": ("cert.pem", "key.pem")}),
        (["tls.crt", "tls.key", "ca.crt"], {"certs": ("tls.crt", "tls.key")}),
        (["a.crt", "a.key", "b.pem"], {"a": ("a.crt", "a.key"), "b": ("b.pem", None)}),
        # A certificate without a key is no pair, a key without a certificate is one that cannot be loaded.
        (["a.crt", "b.cer", "readme.txt", "c/cert.pem"], {}),
        (["a.key"], {"a": ("a.crt", "a.key")}),
        (["a-key.pem"], {"a-key": ("a-key.pem", None)}),
        (["a/key.pem"], {"a": ("a/cert.pem", "a/key.pem")}),
        # What is hidden is left out: editors' files, and what Kubernetes' links lead to.
        ([".a.crt", ".a.key", ".a.pem", "..data/tls.crt", "..data/tls.key"], {}),
        ([], {}),
    ],
)
def test_pairs_are_found_by_their_names(
    tmp_path: Path, files: list[str], expected: dict[str, tuple[str, str | None]]
) -> None:
    directory = tmp_path / "certs"
    directory.mkdir()
    make(directory, *files)
    assert pairs(directory) == expected


def test_certificate_of_a_key_is_rather_a_crt_than_a_pem(tmp_path: Path) -> None:
    make(tmp_path, "a.crt", "a.pem", "a.key")
    assert find_pairs(str(tmp_path)) == {
        (f"{tmp_path}/a.crt", f"{tmp_path}/a.key"): "a",
        (f"{tmp_path}/a.pem", None): "a",
    }


def test_pairs_are_those_of_certbot(tmp_path: Path) -> None:
    """live/ has a README, and for each name four links into archive/."""
    live = tmp_path / "live"
    make(live, "README")
    for name in ("a.test", "b.test"):
        (live / name).mkdir()
        for kind in ("cert", "chain", "fullchain", "privkey"):
            make(tmp_path / "archive" / name, f"{kind}1.pem")
            (live / name / f"{kind}.pem").symlink_to(f"../../archive/{name}/{kind}1.pem")
        make(live / name, "README")
    assert pairs(live) == {name: (f"{name}/fullchain.pem", f"{name}/privkey.pem") for name in ("a.test", "b.test")}


def test_pair_is_found_through_links(tmp_path: Path) -> None:
    make(tmp_path / "elsewhere", "tls.crt", "tls.key")
    directory = tmp_path / "certs"
    directory.mkdir()
    (directory / "a.test").symlink_to(tmp_path / "elsewhere")
    assert pairs(directory) == {"a.test": ("a.test/tls.crt", "a.test/tls.key")}


def test_pair_is_found_though_its_link_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "tls.key").symlink_to("nowhere")
    assert pairs(tmp_path) == {"a": ("a/tls.crt", "a/tls.key")}


@pytest.mark.parametrize("name", ["missing", "file", "a\0b"])
def test_directory_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    make(tmp_path, "file")
    with pytest.raises(CertificateError, match=r"^'.*': the directory cannot be read: ") as caught:
        find_pairs(f"{tmp_path}/{name}")
    assert repr(f"{tmp_path}/{name}") in str(caught.value)
