"""EncryptedInterface: everything that DefaultInterface does, encrypted before it leaves."""

from __future__ import annotations

from typing import Any

from cottoncandy.encryption import KeyLike, resolve_keys
from cottoncandy.interfaces._default import DefaultInterface
from cottoncandy.options import Settings

__all__ = ["EncryptedInterface"]


class EncryptedInterface(DefaultInterface):
    """An interface that encrypts objects before they leave, and decrypts them as they arrive.

    Bodies are encrypted and authenticated (AES-256-GCM). Names, sizes and metadata are not
    encrypted; what decoding depends on (dtype, shape, order, compression, ...) is authenticated.
    :func:`cottoncandy.get_encrypted_interface` makes one.

    Parameters
    ----------
    bucket_name, ACCESS_KEY, SECRET_KEY, url, force_bucket_creation, verbose, backend, **kwargs
        As :class:`BasicInterface` takes them.
    encryption : {'AES', 'RSA'}, optional
        ``'AES'``: one key for all objects. ``'RSA'``: a fresh key for each object, wrapped with a
        public key; reading takes the private one. Default: ``[encryption] method`` of the options.
    encryptionKey : str, bytes or path-like, optional
        AES: 32 bytes, or base64 of them, or ``'auto'``: made at first use, kept in the options
        file. RSA: path of a PEM file, private or public, or its content. Default: ``[encryption]
        key`` of the options.
    passphrase : str, optional
        Unlocks an RSA private key.

    Raises
    ------
    EncryptionKeyError
        If the key is missing, of the wrong length or of the wrong kind; no request is sent.
    MissingDependencyError
        If pycryptodome is not installed.

    Notes
    -----
    Listings show the sizes of the plaintext, which follow from the stored ones. A pickled
    interface holds its key, because Dask's workers need it: send it nowhere else.
    """

    def __init__(
        self,
        bucket_name: str | None,
        ACCESS_KEY: str | None = None,  # noqa: N803 - the documented name
        SECRET_KEY: str | None = None,  # noqa: N803 - the documented name
        url: str | None = None,
        force_bucket_creation: bool | None = False,
        verbose: bool = True,
        backend: str = "s3",
        encryption: str | None = None,
        encryptionKey: KeyLike | None = None,  # noqa: N803 - the documented name
        passphrase: str | None = None,
        **kwargs: Any,
    ) -> None:
        settings: Settings = kwargs.pop("_settings", None) or Settings.load()
        keys = resolve_keys(encryption, encryptionKey, passphrase, settings)
        self._encryption = keys.name
        super().__init__(
            bucket_name,
            ACCESS_KEY,
            SECRET_KEY,
            url,
            force_bucket_creation=force_bucket_creation,
            verbose=verbose,
            backend=backend,
            _settings=settings,
            _keys=keys,
            **kwargs,
        )

    @property
    def encryption(self) -> str:
        """Name of the key scheme: ``'AES'`` or ``'RSA'``."""
        return self._encryption
