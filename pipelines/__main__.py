"""`python -m dinonat.pipelines`: the same commands, whoever owns the name `dinotool` on PATH."""

from dinonat.pipelines.cli import main

if __name__ == "__main__":
    main()
