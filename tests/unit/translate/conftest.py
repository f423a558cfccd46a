"""Which of these tests run on compiled translators: not those with a writer of their own; none can inherit from one."""

from router.translate import chat

IS_COMPILED = not chat.__file__.endswith(".py")

collect_ignore = ["test_chat.py"] if IS_COMPILED else []
