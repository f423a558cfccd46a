"""One port for every OpenAI client, in front of engines on this machine and others."""
