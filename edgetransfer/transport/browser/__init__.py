"""The agent in a browser, here or on an Android device."""
