"""`python -m diglot`, for launchers: torchrun --nproc-per-node 4 -m -- diglot run recipe.yaml."""

from diglot.cli import main

if __name__ == "__main__":
    main()
