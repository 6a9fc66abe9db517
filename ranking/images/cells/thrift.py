"""Thrift's compact protocol, as far as Parquet's footers and page headers go: from bytes to numbers, lists and structs.
What the fields mean is known elsewhere."""


class ThriftError(Exception):
    """The bytes are not what the protocol allows."""


class Reader:
    """Reads values one behind the other; `at` is how far it came. Runs over the end with an IndexError."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data = data
        self.at = at

    def struct(self, depth: int = 0) -> dict[int, object]:
        """The fields of a struct by their numbers: int, bool, bytes, list or dict; None for floating numbers."""
        if depth > 16:
            raise ThriftError("it is nested too deeply")
        fields: dict[int, object] = {}
        key = 0
        while kind := self._byte():
            key = key + (kind >> 4) if kind >> 4 else self._signed()
            fields[key] = self._value(kind & 15, depth)
        return fields

    def unsigned(self) -> int:
        """An integer of variable length."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ThriftError("a number does not end")

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _signed(self) -> int:
        value = self.unsigned()
        return (value >> 1) ^ -(value & 1)

    def _value(self, kind: int, depth: int) -> object:
        if kind in (1, 2):
            return kind == 1
        if kind in (4, 5, 6):
            return self._signed()
        if kind == 8:
            size = self.unsigned()
            self.at += size
            if self.at > len(self._data):
                raise IndexError
            return self._data[self.at - size : self.at]
        if kind == 12:
            return self.struct(depth + 1)
        if kind in (9, 10):
            return self._list(depth)
        if kind == 3:
            return self._byte()
        if kind == 7:
            self.at += 8
            return None
        raise ThriftError(f"a value of kind {kind}")

    def _list(self, depth: int) -> list[object]:
        head = self._byte()
        size, kind = head >> 4, head & 15
        if size == 15:
            size = self.unsigned()
        if size > len(self._data) - self.at:  # each element has a byte at least
            raise IndexError
        if kind in (1, 2):
            return [self._byte() == 1 for _ in range(size)]
        if depth > 16:
            raise ThriftError("it is nested too deeply")
        return [self._value(kind, depth + 1) for _ in range(size)]
