"""The packages of the wheel: installed, the folders of the checkout stand below one name, `mnist_mlp`."""

from setuptools import find_packages, setup

FOLDERS = {"mnist_mlp.service": "service", "mnist_mlp.training": "training"}

setup(
    packages=[
        "mnist_mlp",
        "mnist_mlp.bundled",  # data alone: a trained version, which pyproject.toml names
        *FOLDERS,
        *(f"{name}.{package}" for name, folder in FOLDERS.items() for package in find_packages(folder)),
    ],
    package_dir={"mnist_mlp": "deploy/wheel/mnist_mlp", "mnist_mlp.bundled": "models", **FOLDERS},
)
