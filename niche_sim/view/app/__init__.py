"""The application in the browser (`niche-sim view`): Solara components, one file each."""
