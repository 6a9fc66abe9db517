"""Prompts that tokenizers disagree about. Imports nothing, so that any environment can read it."""

PROMPTS = [
    "a red star on a sand background",
    "",
    "   ",
    ".",
    "A “quoted” word, it’s here",
    "fish &amp; chips &lt;3 &amp;amp; more",
    "\ufb01sh and \ufb03 ligatures, e\u0301 composed",
    "\uff46\uff55\uff4c\uff4c \uff57\uff49\uff44\uff54\uff48",
    "mojibake: schÃ¶n, donâ€™t",
    "an <|endoftext|> in the middle of it",
    "<|startoftext|> at the start",
    "emoji \U0001f600 and 日本語, Ünïcode",
    "tabs\tand\nlines\r\n  and   spaces\u00a0here",
    "numbers 1234567890 and under_score, semi-colon; (brackets)",
    "masterpiece, best quality, (ultra-detailed:1.2), 8k, " * 9,
    "word " * 75,
    "word " * 76,
    "word " * 200,
]
