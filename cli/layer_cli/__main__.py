from __future__ import annotations

from layer_cli.app import main

if __name__ == "__main__":
    main()
