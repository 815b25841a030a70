"""Plug-ins of programs that show pictures: they turn what is shown into arrays, and results into what is shown."""
