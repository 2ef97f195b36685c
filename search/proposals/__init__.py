"""Who proposes policies, and which ones stand by themselves: references, leaves, what is untried."""
