"""`python -m voxray.workers`: one worker. Its parent starts it so; nobody else can."""

from voxray.tap import work

if __name__ == "__main__":
    work()
