"""Questions of several turns: models answer them, and a judge scores the answers by turn and language (MT-bench)."""
