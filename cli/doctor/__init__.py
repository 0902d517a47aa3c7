"""`quintet doctor`: facts are gathered side by side, judged by pure functions, told as findings."""
