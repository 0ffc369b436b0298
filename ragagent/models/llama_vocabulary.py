"""The tokens of a loaded GGUF model, for use inside the model process only."""

from __future__ import annotations

import ctypes
import re
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import llama_cpp.llama_cpp as C

from ragagent.errors import ModelError
from ragagent.models.chat_template import Part

_SPECIAL = C.LLAMA_TOKEN_ATTR_CONTROL | C.LLAMA_TOKEN_ATTR_UNKNOWN
_TAGS = {("<", ">"), ("[", "]")}
_LONGEST_TOKEN = 1024


class Vocabulary:
    """Texts to tokens and back. Nothing here changes, so several threads may use it."""

    def __init__(self, model: Any) -> None:
        self._vocab = C.llama_model_get_vocab(model)
        self.size = int(C.llama_vocab_n_tokens(self._vocab))
        self.begin = int(C.llama_vocab_bos(self._vocab))
        self.end = int(C.llama_vocab_eos(self._vocab))
        self.stops = {token for token in range(self.size) if C.llama_vocab_is_eog(self._vocab, token)}
        self._preparing = threading.Lock()
        self._constraint_tokenizer: Any = None
        self.specials = self._find_specials()
        spelled = "|".join(re.escape(text) for text in sorted(self.specials, key=len, reverse=True))
        self._special = re.compile(f"({spelled})") if spelled else None
        self._special_begin = re.compile(f"(?={spelled})") if spelled else None

    def tokenize(self, text: str) -> list[int]:
        """Tokens of `text`, none of them special, whatever it spells."""
        pieces = [text]
        if self._special_begin is not None:
            # Text that spells a special token is cut after its first character: no token reaches over the cut.
            cuts = [match.start() + 1 for match in self._special_begin.finditer(text)]
            pieces = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        return [token for piece in pieces for token in self._tokenize_plain(piece)]

    def tokenize_parts(self, parts: Sequence[Part]) -> list[int]:
        """Tokens of a laid-out conversation: special tokens only where the markup spells them.

        Text between two special tokens is tokenized as one, as in training, wherever its pieces come from.
        """
        tokens: list[int] = []
        text = ""
        for special, piece in self._segments(parts):
            if special is None:
                text += piece
                continue
            tokens += [*self.tokenize(text), special]
            text = ""
        tokens += self.tokenize(text)
        if C.llama_vocab_get_add_bos(self._vocab) and tokens[:1] != [self.begin]:
            tokens.insert(0, self.begin)
        return tokens

    def spelling(self, token: int) -> bytes:
        """What `token` adds to the text; nothing for a special token."""
        return self._piece(token, special=False)

    def text(self, token: int) -> str:
        """How the vocabulary spells `token`; "" for none."""
        spelled: bytes = C.llama_vocab_get_text(self._vocab, token) if token >= 0 else b""
        return (spelled or b"").decode("utf-8", "replace")

    @property
    def constraint_tokenizer(self) -> Any:
        """The same vocabulary for llguidance."""
        self.prepare_constraints()
        return self._constraint_tokenizer

    def prepare_constraints(self) -> None:
        """Builds the constraint tokenizer, once: a second for 150,000 tokens."""
        with self._preparing:
            if self._constraint_tokenizer is None:
                self._constraint_tokenizer = self._build_constraint_tokenizer()

    def _build_constraint_tokenizer(self) -> Any:
        import llguidance

        tokens = [self._constraint_piece(token) for token in range(self.size)]
        function = ctypes.cast(C._lib.llama_tokenize, ctypes.c_void_p).value
        return llguidance.LLTokenizer.from_llamacpp(
            tokens=tokens, vocab_ptr=self._vocab, tokenize_fptr=function, eos_token=sorted(self.stops), slices=None
        )

    def _constraint_piece(self, token: int) -> bytes:
        piece = self._piece(token, special=True)
        attributes = C.llama_vocab_get_attr(self._vocab, token)
        tag = attributes & C.LLAMA_TOKEN_ATTR_USER_DEFINED and piece[:1] == b"<" and piece[-1:] == b">"
        # 0xff is llguidance's mark of a token that no text can spell.
        return b"\xff" + piece if tag or attributes & C.LLAMA_TOKEN_ATTR_CONTROL else piece

    def _find_specials(self) -> dict[str, int]:
        """Texts that stand for one special token each: control tokens, and user-defined ones that look like tags."""
        found: dict[str, int] = {}
        for token in range(self.size):
            attributes = C.llama_vocab_get_attr(self._vocab, token)
            if not attributes & (_SPECIAL | C.LLAMA_TOKEN_ATTR_USER_DEFINED):
                continue
            text = self.text(token)
            tag = len(text) > 2 and (text[0], text[-1]) in _TAGS
            if text and (tag or attributes & _SPECIAL):
                found.setdefault(text, token)
        return found

    def _segments(self, parts: Sequence[Part]) -> Iterator[tuple[int | None, str]]:
        """(token, "") for each special token of the markup, (None, text) for everything else."""
        for part in parts:
            if not part.markup or self._special is None:
                yield None, part.text
                continue
            for place, piece in enumerate(self._special.split(part.text)):
                yield (self.specials[piece], "") if place % 2 else (None, piece)

    def _tokenize_plain(self, text: str) -> list[int]:
        if not text:
            return []
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        tokens = (C.llama_token * room)()
        count = C.llama_tokenize(self._vocab, data, len(data), tokens, room, False, False)
        if count < 0:
            raise ModelError(f"a text of {len(data)} bytes cannot be tokenized")
        return list(tokens[:count])

    def _piece(self, token: int, *, special: bool) -> bytes:
        buffer = ctypes.create_string_buffer(_LONGEST_TOKEN)
        length = C.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, special)
        return ctypes.string_at(buffer, max(0, length))
