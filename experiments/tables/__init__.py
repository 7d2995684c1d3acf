"""Tables of papers: published rows beside rows that this code measures, each table a file in conf/table."""
