"""`KnowledgeBase` and `Agent`: the two objects an application uses.

Both only put the parts together; every part can be passed in instead of being made from the settings.
"""

from ragagent.app.agent import Agent
from ragagent.app.knowledge import DEFAULT_FOLDER, KnowledgeBase

__all__ = ["DEFAULT_FOLDER", "Agent", "KnowledgeBase"]
