"""Fields of a config that hold the config of a part: a `dict` or `None` goes in, a config comes out."""

from typing import TYPE_CHECKING, Any

from transformers.configuration_utils import PreTrainedConfig

if TYPE_CHECKING:
    PartConfig = Any  # no type says that a field is read as another type than it was given
else:
    PartConfig = dict | PreTrainedConfig | None  # what `@strict` lets in


def as_config(value: dict | PreTrainedConfig | None, config_class: type) -> PreTrainedConfig:
    """A part's config from what a file holds of it, or from its base class's; `None` is the class's default."""
    if value is None:
        return config_class()
    if isinstance(value, PreTrainedConfig) and type(value) in config_class.__mro__[1:]:
        value = value.to_dict()  # an `EncodecConfig`
    if isinstance(value, dict):
        return config_class(**{name: field for name, field in value.items() if name != "model_type"})
    return value


__all__ = ["PartConfig", "as_config"]
