"""The doors: the API, the dashboard and the command line. Holds no knowledge of pairs or models of its
own."""
