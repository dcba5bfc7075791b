"""Where functions run. Only apps imports Parsl."""
