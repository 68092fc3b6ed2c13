"""EncryptedInterface: everything that DefaultInterface does, encrypted before it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cottoncandy._body import Body
from cottoncandy.backends.base import MetadataLimits, ObjectReader
from cottoncandy.encryption import KeyLike, resolve_keys
from cottoncandy.exceptions import MetadataError
from cottoncandy.formats.encryption import MARK, encrypt_body, open_encrypted
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
    Sizes in listings are those of the encrypted bodies. A pickled interface holds its key, so that
    dask's workers can read: send it nowhere else.
    """

    def __init__(
        self,
        bucket_name: str | None,
        ACCESS_KEY: str | None = None,  # noqa: N803 - the documented name
        SECRET_KEY: str | None = None,  # noqa: N803 - the documented name
        url: str | None = None,
        force_bucket_creation: bool = False,
        verbose: bool = True,
        backend: str = "s3",
        encryption: str | None = None,
        encryptionKey: KeyLike | None = None,  # noqa: N803 - the documented name
        passphrase: str | None = None,
        **kwargs: Any,
    ) -> None:
        settings: Settings = kwargs.pop("_settings", None) or Settings.load()
        self._keys = resolve_keys(encryption, encryptionKey, passphrase, settings)
        super().__init__(
            bucket_name,
            ACCESS_KEY,
            SECRET_KEY,
            url,
            force_bucket_creation=force_bucket_creation,
            verbose=verbose,
            backend=backend,
            _settings=settings,
            **kwargs,
        )

    @property
    def encryption(self) -> str:
        """Name of the key scheme: ``'AES'`` or ``'RSA'``."""
        return self._keys.name

    def _incoming(self, key: str, reader: ObjectReader) -> ObjectReader:
        label = f"object '{key}' in bucket '{self.bucket_name}'"
        return open_encrypted(reader, self._keys, label)

    def _outgoing(
        self, key: str, body: Body, metadata: Mapping[str, Any] | None
    ) -> tuple[Body, Mapping[str, Any] | None]:
        checked = MetadataLimits().check(metadata or {}, key)
        for name in checked:
            if name == MARK or self._keys.owns_metadata(name):
                raise MetadataError(
                    f"metadata '{name}' of object '{key}' is taken: encryption='{self.encryption}' "
                    f"stores its own under that name; choose another"
                )
        return encrypt_body(body, checked, self._keys)
