"""HDF5 files between Tenon and h5py, both ways."""
import gzip
import os
import struct
import tempfile

from tn_interop import main, need, tenon

np = need("numpy")
h5py = need("h5py")


def idx(path, array):
    """Writes an IDX file as its format says, gzipped if the name ends so."""
    codes = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}
    head = struct.pack(">HBB", 0, codes[array.dtype.str[1:]], array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    with (gzip.open if path.endswith(".gz") else open)(path, "wb") as file:
        file.write(head + array.astype(array.dtype.newbyteorder(">")).tobytes())


def imports_idx_into_what_h5py_reads():
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        images = {s: rng.integers(0, 256, (n, 5, 4), dtype=np.uint8) for s, n in (("train", 300), ("test", 7))}
        labels = {s: rng.integers(0, 10, len(images[s]), dtype=np.uint8) for s in images}
        words = []
        for split in images:
            for field, array in (("image", images[split]), ("label", labels[split])):
                path = os.path.join(folder, f"{split}-{field}.gz")
                idx(path, array)
                words.append(f"{split}.{field}={path}")
        target = os.path.join(folder, "digits.h5")
        done = tenon("data", "import", "idx", target, *words)
        assert done.returncode == 0, done.stderr
        with h5py.File(target) as file:
            for split in images:
                assert (file[split]["image"][:, 0] == images[split]).all()
                assert file[split]["image"].dtype == np.uint8
                assert (file[split]["label"][:] == labels[split]).all()
        again = tenon("data", "import", "idx", target, *words)
        assert again.returncode == 2 and "--force" in again.stderr, again.stderr
        assert tenon("data", "import", "--force", "--compress", "5", "idx", target, *words).returncode == 0
        with h5py.File(target) as file:
            assert file["train"]["image"].compression == "gzip"
            assert (file["train"]["image"][:, 0] == images["train"]).all()


def big_endian_idx_of_every_type():
    with tempfile.TemporaryDirectory() as folder:
        for code in ("u1", "i1", "i2", "i4", "f4", "f8"):
            array = np.array([1, 2, 100, -3 if code[0] != "u" else 3], dtype=code)
            path, target = os.path.join(folder, code), os.path.join(folder, code + ".h5")
            idx(path, array)
            done = tenon("data", "import", "idx", target, f"train.image={path}")
            assert done.returncode == 0, done.stderr
            with h5py.File(target) as file:
                assert file["train"]["image"].dtype == np.dtype(code) and (file["train"]["image"][:] == array).all()


def shows_what_h5py_wrote():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "made.h5")
        for kind in ("f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">i4", ">f8", "f2"):
            with h5py.File(path, "w") as file:
                file.create_dataset("train/x", data=np.arange(6).reshape(3, 2).astype(kind), chunks=(2, 2), compression="gzip")
            shown = tenon("data", "head", path, "split=train", "--n", "3")
            assert shown.returncode == 0, shown.stderr
            assert "[2]" in shown.stdout and "{4, 5}" in shown.stdout, (kind, shown.stdout)
            info = tenon("data", "info", path)
            assert info.returncode == 0 and "3 samples" in info.stdout, info.stdout + info.stderr


def refuses_what_is_no_number():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "text.h5")
        with h5py.File(path, "w") as file:
            file.create_dataset("train/x", data=[b"abc", b"de"])
        shown = tenon("data", "head", path, "split=train")
        assert shown.returncode == 1 and "'x'" in shown.stderr and "text.h5" in shown.stderr, shown.stderr


def stays_in_its_own_file():
    """Links, virtual arrays and external storage may name any file of the machine: none is followed."""
    with tempfile.TemporaryDirectory() as folder:
        path, other, secret = (os.path.join(folder, name) for name in ("links.h5", "other.h5", "secret"))
        with open(secret, "wb") as file:
            file.write(b"secret!!")
        with h5py.File(other, "w") as file:
            file["x"] = np.arange(4.0)
        with h5py.File(path, "w") as file:
            file["link/x"] = h5py.ExternalLink(other, "/x")
            file["link/own"] = np.arange(4.0)
            file["away"] = h5py.ExternalLink(other, "/")
            file.create_dataset("outside/x", (8,), dtype="u1", external=[(secret, 0, 8)])
            layout = h5py.VirtualLayout((4,), dtype="f8")
            layout[:] = h5py.VirtualSource(other, "x", (4,))
            file.create_group("virtual").create_virtual_dataset("x", layout)
        listed = tenon("data", "head", path, "split=link")
        assert listed.returncode == 0 and "own" in listed.stdout and "x =" not in listed.stdout, listed.stdout + listed.stderr
        for words in (["split=link", "fields={x}"], ["split=away"], ["split=outside"], ["split=virtual"]):
            shown = tenon("data", "head", path, *words)
            assert shown.returncode == 1 and "not read" in shown.stderr and "links.h5" in shown.stderr, (words, shown.stderr)


if __name__ == "__main__":
    main([imports_idx_into_what_h5py_reads, big_endian_idx_of_every_type, shows_what_h5py_wrote, refuses_what_is_no_number,
          stays_in_its_own_file])
