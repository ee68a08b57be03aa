"""What a wheelhouse is made of: the engine's portable build, pip, and the files that go into the room."""
