"""What every room stands on: errors, files, arrays on disk, devices, processes. No radiographs here."""
