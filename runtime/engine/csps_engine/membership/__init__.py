"""Who is in the group (roster: the operator's word) and who forms an epoch now: pure rules."""
