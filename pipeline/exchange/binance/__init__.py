"""Binance spot over python-binance, with what it lacks: see `adapter.BinanceExchange`."""

from pipeline.lean import put_off

# Dates in words, and keys that are no HMAC secrets: python-binance imports 6 MB for what is not used here.
with put_off(
    "dateparser", "Crypto", "Crypto.Hash", "Crypto.Hash.SHA256", "Crypto.PublicKey", "Crypto.PublicKey.ECC",
    "Crypto.PublicKey.RSA", "Crypto.Signature", "Crypto.Signature.eddsa", "Crypto.Signature.pkcs1_15",
):  # fmt: skip
    import binance  # noqa: F401
