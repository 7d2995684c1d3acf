"""The Visdom board: the server as pip installs it, with the files of third parties that its page loads."""
