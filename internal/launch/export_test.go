package launch

// UserData lets a test run the script.
var UserData = userData

// MaxUserData is EC2's limit.
const MaxUserData = maxUserData
