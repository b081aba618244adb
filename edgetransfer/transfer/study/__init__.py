"""Questions asked of data and features beside the fit: is it sound, are the labels right."""
