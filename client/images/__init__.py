"""Pictures as people have them, read into what the service takes: upright 8-bit sRGB without transparency.

Each format has a reader that decides by the file's own header what is declared, and whether it can be read exactly. A
file that cannot is refused by name. All that follows, such as the conversion to sRGB, exists once, behind the readers.
Nothing here knows of servers.
"""
