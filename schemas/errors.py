"""What can be wrong with a message that crosses a process."""


class SchemaError(ValueError):
    """A message does not follow its schema; the text says where and why."""


class UnknownSchemaVersion(SchemaError):
    """A message was written by a newer version of Quintet than the one that reads it."""


class HistoryNotReadable(SchemaError):
    """The packed history is cut short, of another layout, or contradicts its own header."""


class CandidatesNotReadable(SchemaError):
    """The packed candidate rows are cut short or have an unknown encoding."""


class RecommendationIdNotReadable(SchemaError):
    """The text is not a recommendation id: `<ulid>-<routing key>`."""


class KeysNotReadable(SchemaError):
    """The setting of API keys does not follow `key:scope+scope[@rate],key:scope+scope`."""
